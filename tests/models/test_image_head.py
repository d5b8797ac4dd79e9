import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR
from braindecode_ssr.models.image_head import ImageHead


def test_it_is_a_linear_map():
    head, features = ImageHead(6, 3), torch.randn(4, 6)
    expected = features @ head.weight.T + head.bias
    torch.testing.assert_close(head(features), expected)
    assert set(head.state_dict()) == {"weight", "bias"}


def test_features_of_another_width_are_refused_in_words():
    model = SSR(n_outputs=4, n_chans=3, n_times=50, n_features=6)
    with pytest.raises(UsageError, match="width 6.*found width 7.*n_features"):
        model.image_head(torch.randn(2, 7))
    model.reset_head(5)
    assert model.image_head(torch.randn(2, 6)).shape == (2, 5)


def test_it_can_be_scripted():
    scripted = torch.jit.script(ImageHead(6, 3))
    assert scripted(torch.randn(2, 6)).shape == (2, 3)
