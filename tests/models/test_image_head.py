import json

import pytest
import torch

from braindecode_ssr.errors import UsageError
from braindecode_ssr.models import SSR, BlurLevelsHead, BlurMixerHead, FusionHead, PerceptronHead
from braindecode_ssr.models.ssr import ImageHead, build_image_head


def test_it_is_a_linear_map():
    head, features = ImageHead(6, 3), torch.randn(4, 6)
    expected = features @ head.weight.T + head.bias
    torch.testing.assert_close(head(features), expected)
    assert set(head.state_dict()) == {"weight", "bias"}


def test_features_of_another_width_are_refused_in_words():
    model = SSR(n_outputs=4, n_chans=3, n_times=50, n_features=6)
    with pytest.raises(UsageError, match="width 6.*width 7.*n_features"):
        model.image_head(torch.randn(2, 7))
    model.reset_head(5)
    assert model.image_head(torch.randn(2, 6)).shape == (2, 5)


def test_widths_side_by_side_are_one_width_to_a_linear_map():
    assert ImageHead((4, 2), 3).weight.shape == (3, 6)


def test_each_vector_can_be_scaled_to_unit_length():
    head, features = ImageHead((4, 2), 3, length="unit"), torch.randn(5, 6)
    parts = [rows / rows.square().sum(1, keepdim=True).sqrt() for rows in features.split((4, 2), 1)]
    expected = torch.cat(parts, 1) @ head.weight.T + head.bias
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(torch.jit.script(head)(features), expected)
    mixer = BlurMixerHead((3, 3), 2, length="unit").eval()
    raw = BlurMixerHead((3, 3), 2).eval()
    raw.load_state_dict(mixer.state_dict())
    parts = [rows / rows.square().sum(1, keepdim=True).sqrt() for rows in features.split(3, 1)]
    torch.testing.assert_close(mixer(features), raw(torch.cat(parts, 1)))


def test_the_perceptron_is_that_of_the_public_code():
    """Cross-Modal-EEG 80aeb02, models/modules.py: MLPEncoder(1024, 512, 512), 787,456 parameters."""
    assert sum(part.numel() for part in PerceptronHead((1024,), 512).parameters()) == 787_456
    head, features = PerceptronHead((4, 2), 3, length="unit"), torch.randn(5, 6)
    parts = [rows / rows.square().sum(1, keepdim=True).sqrt() for rows in features.split((4, 2), 1)]
    first, _, second = head.maps
    hidden = torch.cat(parts, 1) @ first.weight.T + first.bias
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(head(features), hidden @ second.weight.T + second.bias)


def test_blur_levels_share_one_map_and_the_middle_is_the_embedding():
    head, features = BlurLevelsHead((4, 4, 4), 3, length="unit"), torch.randn(5, 12)
    plain = ImageHead(4, 3, length="unit")
    plain.load_state_dict(head.map.state_dict())
    wanted = torch.stack([plain(level) for level in features.split(4, 1)], 1)
    torch.testing.assert_close(head.levels(features), wanted)
    torch.testing.assert_close(head(features[None]), wanted[None, :, 1])
    for widths in ((4, 4), (4, 4, 2)):
        with pytest.raises(UsageError, match="odd number of vectors of one width.*side-by-side"):
            BlurLevelsHead(widths, 3)


@pytest.mark.parametrize("head", ["linear", ImageHead, "braindecode_ssr.models.ssr.ImageHead"])
def test_by_name_by_class_and_by_path(head):
    assert type(build_image_head(head, (4, 2), 3)) is ImageHead


@pytest.mark.parametrize(
    ("head", "params", "said"),
    [
        ("linaer", {}, "image head.*'linaer'.*did you mean 'linear'"),
        ("nowhere.Head", {}, "nowhere.Head.*image head.*add --trust"),
        ("linear", {"depth": 2}, "ImageHead cannot be built.*depth"),
        ("linear", {"length": "one"}, "length has to be one of.*'one'"),
        ("blur-mixer", {"length": "one"}, "length has to be one of.*'one'"),
    ],
)
def test_an_unknown_head(head, params, said):
    with pytest.raises(UsageError, match=said):
        build_image_head(head, (4,), 3, params)


def test_it_is_part_of_the_configuration():
    wanted = {"image_head": "fusion", "image_head_params": {"n_blocks": 2}}
    model = SSR(n_outputs=4, n_chans=3, n_times=50, n_features=6, feature_widths=[4, 2], **wanted)
    config = json.loads(json.dumps(model.get_config()))
    again = SSR.from_config(config)
    assert isinstance(again.image_head, FusionHead) and len(again.image_head.blocks) == 2
    again.load_state_dict(model.state_dict())
    again.reset_head(5)
    assert again.image_head(torch.randn(2, 6)).shape == (2, 5)


def test_widths_that_do_not_sum_to_that_of_the_features():
    with pytest.raises(UsageError, match=r"\[4, 3\] sum to 7.*n_features is 6"):
        SSR(n_outputs=4, n_chans=3, n_times=50, n_features=6, feature_widths=[4, 3])


def test_it_can_be_scripted():
    scripted = torch.jit.script(ImageHead(6, 3))
    assert scripted(torch.randn(2, 6)).shape == (2, 3)
