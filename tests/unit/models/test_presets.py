"""Named networks."""

import pytest
import torch

from hpc_gw.errors import ConfigError
from hpc_gw.models.config import ModelConfig, cone
from hpc_gw.models.presets import PRESETS, model_config
from hpc_gw.models.wavenet import WaveNet


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_and_answers(name):
    config = model_config(name)
    with torch.no_grad():
        assert WaveNet(config).eval()(torch.zeros(1, cone(config))).shape == (1, 5)


def test_fields_override_a_preset():
    config = model_config({"preset": "compact", "leaf_width": 64})
    assert config.leaf_width == 64
    assert config.stem_stride == PRESETS["compact"].stem_stride


def test_fields_without_a_preset_start_from_the_published_network():
    assert model_config({"root_channels": 64}) == ModelConfig(root_channels=64)


def test_a_configuration_passes_through():
    assert model_config(PRESETS["compact"]) is PRESETS["compact"]


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"khan2021.*khan2020, strided, compact"):
        model_config("khan2021")


def test_an_unknown_field_is_refused():
    with pytest.raises(ValueError, match="leaf_with"):
        model_config({"preset": "compact", "leaf_with": 64})
