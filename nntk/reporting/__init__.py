"""What every command reports with: one envelope, files, the terminal, HTML pages and figures."""
