"""Other ways to do the same jobs, one module each, with a function `run`.

``run(order, connections, folder)`` yields a `rules.Found` for each job. A peer is given the items: it does not
search. It saves the masked crops of clear areas in the folder.
"""
