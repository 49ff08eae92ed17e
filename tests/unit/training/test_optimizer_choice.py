"""Which optimizer a configuration makes."""

import sys

import pytest
import torch
from torch import nn

from hpc_gw.errors import MissingDependencyError
from hpc_gw.training.lamb import Lamb, OptimizerConfig, has_apex, make_optimizer

KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "lamb": Lamb}


def model():
    return nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))


@pytest.fixture
def no_apex(monkeypatch, tmp_path):
    """A path on which only what a test puts into ``tmp_path`` is called apex."""
    monkeypatch.delitem(sys.modules, "apex", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "eps", "decay"), [("adam", 1e-8, 0.0), ("adamw", 1e-8, 0.01), ("lamb", 1e-6, 0.01)]
)
def test_each_kind_with_its_own_defaults(kind, eps, decay):
    optimizer = make_optimizer(OptimizerConfig(kind=kind), model().parameters())
    assert type(optimizer) is KINDS[kind]
    weights, others = optimizer.param_groups
    assert [p.dim() for p in weights["params"]] == [2]
    assert [p.dim() for p in others["params"]] == [1, 1, 1]
    assert (weights["weight_decay"], others["weight_decay"]) == (decay, 0.0)
    assert {g["eps"] for g in optimizer.param_groups} == {eps}
    assert {g["lr"] for g in optimizer.param_groups} == {5e-4}


def test_given_numbers_replace_the_defaults():
    config = OptimizerConfig(
        kind="lamb", lr=0.1, weight_decay=0.3, betas=(0.5, 0.6), eps=1e-4, max_grad_norm=0.0,
        use_nvlamb=True,
    )  # fmt: skip
    optimizer = make_optimizer(config, model().parameters())
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["eps"]) == (0.1, 0.3, 1e-4)
    assert group["betas"] == (0.5, 0.6)
    assert group["use_nvlamb"]
    assert optimizer.defaults["max_grad_norm"] == 0.0


def test_frozen_parameters_are_left_out():
    network = model()
    network[0].weight.requires_grad_(False)
    optimizer = make_optimizer(OptimizerConfig(), network.parameters())
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 3


def test_fused_adam_is_torchs():
    optimizer = make_optimizer(OptimizerConfig(fused=True), model().parameters())
    assert optimizer.param_groups[0]["fused"] is True


def test_fused_lamb_without_apex_names_the_remedy(no_apex):
    with pytest.raises(MissingDependencyError, match=r"build it from source.*fused: false"):
        make_optimizer(OptimizerConfig(kind="lamb", fused=True), model().parameters())


def test_the_other_apex_of_pypi_is_never_imported(no_apex):
    (no_apex / "apex").mkdir()
    (no_apex / "apex" / "__init__.py").write_text("raise RuntimeError('imported')")
    assert not has_apex()
    with pytest.raises(MissingDependencyError, match="another project"):
        make_optimizer(OptimizerConfig(kind="lamb", fused=True), model().parameters())


def test_nvidias_apex_is_used_where_it_is_installed(no_apex, monkeypatch):
    optimizers = no_apex / "apex" / "optimizers"
    optimizers.mkdir(parents=True)
    (no_apex / "apex" / "__init__.py").write_text("")
    (optimizers / "__init__.py").write_text("from .fused_lamb import FusedLAMB")
    (optimizers / "fused_lamb.py").write_text(
        "class FusedLAMB:\n"
        "    def __init__(self, params, **options):\n"
        "        self.options = options\n"
    )
    for name in ("apex", "apex.optimizers", "apex.optimizers.fused_lamb"):
        monkeypatch.setitem(sys.modules, name, None)  # restored afterwards, whatever is imported
        del sys.modules[name]
    optimizer = make_optimizer(OptimizerConfig(kind="lamb", fused=True), model().parameters())
    assert type(optimizer).__name__ == "FusedLAMB"
    assert optimizer.options["max_grad_norm"] == 1.0
    assert optimizer.options["eps"] == 1e-6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr = 0.0"),
        ({"eps": -1.0}, "eps = -1.0"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"kind": "sgd"}, "'adam', 'adamw' or 'lamb'"),
    ],
)
def test_an_impossible_optimizer_says_what_to_change(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)
