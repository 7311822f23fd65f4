"""The command `s2async`: its subcommands, in the order of its help text, and its exit codes.

The subcommands, with their arguments, options and help texts, are in `run_commands`, `result_commands` and
`sandbox_commands`. These modules import only click, so that help, shell completion and wrong arguments take no
time. Each command imports the module that does its work when it is invoked.
"""

from __future__ import annotations

from typing import Final

import click

from s2async._version import __version__
from s2async.cli import options, result_commands, run_commands, sandbox_commands

EXIT_CODES: Final = """
\b
Exit codes:
  0        done; files that do not exist on the server do not count as errors
  2        the command, the configuration or the areas cannot be used; a setting must be corrected
           before anything can be read; or the state is missing or belongs to another configuration
  3        finished, but some jobs failed, a search is incomplete, or almost no files were available
  4        another run is using the state
  5        the state cannot be used: it is damaged, or was written by a newer version
  6        stopped because of a problem on this machine (disk full or read-only, too little memory);
           run again to resume
  7        stopped because the Dask scheduler did not respond, or stopped responding;
           run again to resume
  70       a bug in s2async; the details for a bug report are written to a file
  130, 143 interrupted (Ctrl-C, SIGTERM); run again to resume
"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="s2async")
@options.verbosity
def cli() -> None:
    """Download cloud-free Sentinel-2 crops of many small areas.

    s2async searches a STAC API for scenes that cover your areas, reads only the parts of images that show them,
    saves the crops that are free of clouds, and resumes where it stopped.

    \b
    Try it without internet access:  s2async demo
    Start with your own areas:       s2async init config.toml
                                     s2async run config.toml
    """


for _command in (
    run_commands.init,
    run_commands.check,
    run_commands.run,
    run_commands.plan,
    run_commands.status,
    run_commands.retry,
    result_commands.export,
    result_commands.report,
    result_commands.verify,
    result_commands.prune,
    result_commands.rebuild,
    sandbox_commands.demo,
    sandbox_commands.sandbox,
):
    cli.add_command(_command)
