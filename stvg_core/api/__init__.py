"""The public verbs: open a model once, then ground sentences or look at attention.

grounder    ground, Grounder and its results
attention   attend: what a model looks at while it is asked something

May import everything below: outputs, method, inputs, metrics, host, plugin. Knows no command line and no run.
"""
