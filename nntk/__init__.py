"""Property-testing suite and command line for the Newton neural tangent kernel."""

__version__ = "0.1.0"
