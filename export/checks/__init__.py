"""Checks that a model can be exported and that its graphs compute what it computes."""
