"""A study: a grid of extractions (method x victim x surrogate x queries x budget x seed), and statistics over it."""
