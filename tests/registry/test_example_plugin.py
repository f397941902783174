"""The example package of examples/plugins is found by its entry point, and does its sum."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

from isthmus.core.contracts import Features, Grid
from isthmus.registry import discover
from tests.site_folder import Site

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "isthmus-gated"


@pytest.fixture
def installed(site: Site) -> Site:
    """As pip would install it, by what its pyproject says."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    ((point, module),) = project["entry-points"]["isthmus"].items()
    source = (FOLDER / f"{module}.py").read_text()
    site.install(
        project["name"], source, version=project["version"], module=module, points={point: module}
    )
    return site


def test_example_is_found_with_its_name_and_version(installed: Site) -> None:
    entry = discover(built_in=()).find("connector", "gated")
    assert (entry.distribution, entry.version) == ("isthmus-gated", "0.1.0")


def test_example_computes_the_gated_linear_unit(installed: Site) -> None:
    part = discover(built_in=()).resolve("connector", "gated")
    gated = part.Config(bias=False).build(dim_in=1, dim_out=1)
    with torch.no_grad():
        gated.project.weight.copy_(torch.tensor([[3.0], [0.5]]))
    features = Features(torch.tensor([[2.0], [-4.0]]), ((Grid(1, 2),),))
    # value * sigmoid(gate): 6 * sigmoid(1), and -12 * sigmoid(-2)
    expected = torch.tensor([[6 * 0.7310585786], [-12 * 0.1192029220]])
    torch.testing.assert_close(gated(features), expected)
