"""The commands of `nntk`, a module each: options, run, report. Nothing heavy is imported before a command runs."""
