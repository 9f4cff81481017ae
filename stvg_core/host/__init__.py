"""Where plugins meet the core: discovery, loading, one session around one backend.

registry        installed backends, from metadata and manifests alone
models, hub     from what a user types to a checkpoint
loading         imports plugins of every kind; their failures become one line
hooks           a plugin's hooks, their arguments and answers checked
extensions      wrappers around hooks
import_check    imports backends in separate processes: `stvg plugins --check`
session         an opened model behind the four hooks

May import plugin, values, settings. Knows no model and no method.
"""
