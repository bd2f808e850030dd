"""The sections of the help, each as a function that makes settings, with the commands that have them."""

from __future__ import annotations

from functools import partial

from headstart.config.checking import setting

# The commands are those besides train that have most settings of the section.
labels = partial(
    setting,
    section="Photos and labels",
    commands=("features", "augment", "lr-find", "evaluate", "recommend", "check"),
)
splits = partial(setting, section="Photos and labels")
column = partial(labels, metavar="COLUMN")
network = partial(setting, section="Backbone and head", commands=("features", "augment", "lr-find", "check"))
input_size = partial(network, commands=("features", "augment", "lr-find", "recommend", "check"))
onnx_file = partial(network, commands=("features", "recommend", "check"))
training = partial(setting, section="Training", needs="steps")
recipes = partial(setting, section="Training", commands=("augment", "lr-find"))
machine = partial(setting, section="Machine, time and faults")
computing = partial(machine, commands=("features", "recommend", "check"))
