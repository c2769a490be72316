"""The one error that a person can mend."""


class InputError(ValueError):
    """What was given cannot be used; the message says what was wrong and what would be right.

    The command line prints the message on one line and exits with code 2. Anything else that
    escapes from the package is a defect of the package.
    """
