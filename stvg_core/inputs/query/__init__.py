"""Query decomposition: a sentence becomes an attribute and an action sub-query."""
