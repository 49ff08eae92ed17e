"""Utilisation of a device: operations counted over what a product of matrices reaches."""

import pytest
import torch

from hpc_gw.models.flops import training_flops
from hpc_gw.models.presets import model_config
from hpc_gw.training.utilisation import Utilisation, product_rate


def test_nothing_is_measured_on_a_cpu():
    found = Utilisation(model_config("compact"), 768, torch.device("cpu"), "float32")
    assert found.report(64, 0.1) == {}


def test_operations_a_second_are_those_of_the_waveforms_done():
    found = Utilisation(model_config("compact"), 768, torch.device("cpu"), "float32")
    found._active, found._ceiling = True, 2e12
    found._operations = training_flops(model_config("compact"), 768)
    report = found.report(64, 0.5)
    assert report["tflops"] == pytest.approx(found._operations * 128 / 1e12)
    assert report["utilisation"] == pytest.approx(report["tflops"] / 2)


def test_the_rate_of_a_product_is_positive_and_of_its_operations():
    assert product_rate(torch.device("cpu"), torch.float32, size=64, rounds=2) > 0
