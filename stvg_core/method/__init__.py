"""The method of arXiv 2509.15178, written once against the hooks of stvg_core.plugin.

pipeline        the order of all steps
branches        the query's two sub-queries and their maps (DSTH)
prompts         visual prompts learned on the yes/no logits (LRA)
attention       relative attention, grounding tokens, maps
reversed_view   the reversed frames and how views are put together (TAS)
scores, tube    from maps to tracks' scores to a tube
long_videos     windows of a video that is too long for one context

May import inputs, host, plugin, values, settings. Never sees ground truth.
"""
