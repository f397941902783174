"""A connector in a package of its own: the gated linear unit (Dauphin et al. 2017)."""

from torch import Tensor, nn

from isthmus import Connector, Features, hookimpl


class Gated(Connector, name="gated"):
    """Gated linear unit (arXiv:1612.08083). (tokens dim_in) -> (tokens dim_out)"""

    class Config(Connector.Config):
        bias: bool = True
        """Add a learned offset to the values and to their gates."""

    def __init__(self, config: Config, dim_in: int, dim_out: int):
        super().__init__(config, dim_in, dim_out)
        self.project = nn.Linear(dim_in, 2 * dim_out, bias=config.bias)

    def forward(self, features: Features) -> Tensor:
        return nn.functional.glu(self.project(features.values), dim=-1)


@hookimpl
def register_connectors(register):
    register(Gated)
