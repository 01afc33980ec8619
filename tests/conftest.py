"""What all tests share."""

from hypothesis import settings

# The same examples in every run: a failure in CI is a failure at the desk. Kernels compile on their first example.
settings.register_profile("fastgd", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("fastgd")
