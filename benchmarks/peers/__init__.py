"""Other ways to do the same jobs, one module each: ``run(order, connections)`` gives an `Answer` for each job.

A peer is told the items: it does not search. It keeps the arrays in memory and gives their digests.
"""
