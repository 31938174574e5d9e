"""The tests. A package, so that none of a library that is installed beside it stands before it."""
