"""`agentdash completions`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click

from agentdash.cli.output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completions(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: eval "$(agentdash completions bash)"           in ~/.bashrc
    zsh:  eval "$(agentdash completions zsh)"            in ~/.zshrc
    fish: agentdash completions fish > ~/.config/fish/completions/agentdash.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # the choice above allows only those that click knows
        raise click.UsageError(f"No completions for {shell}.", context)
    # `source_template` itself: `source()` starts a bash to look at its version.
    complete = kind(context.find_root().command, {}, "agentdash", "_AGENTDASH_COMPLETE")
    say(complete.source_template % complete.source_vars())
