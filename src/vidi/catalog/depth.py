"""Chapter 6: depth from stereo, from one picture, from videos."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import DEEP3D, DEPTH_PRO, EIGEN, MONODEPTH, SFM_LEARNER
from vidi.catalog.tiny import SMALL_DEPTH, SMALL_DEPTH_PRO
from vidi.depth.depth_pro import depth_pro, depth_pro_tiny
from vidi.depth.monodepth import monodepth_resnet18, monodepth_resnet50, monodepth_tiny, monodepth_vgg
from vidi.depth.sfm_learner import sfm_learner, sfm_learner_tiny
from vidi.depth.stereo import stereo_tiny, stereo_vgg
from vidi.depth.supervised import depth_resnet18, depth_tiny
from vidi.recipes.depth import DEPTH_TINY, MONODEPTH_RECIPE, MONODEPTH_TINY, SFM_RECIPE, SFM_TINY, STEREO_TINY
from vidi.recipes.depth_pro import DEPTH_PRO_RECIPE, DEPTH_PRO_TINY
from vidi.tasks.depth import DEPTH, DEPTH_FROM_STEREO, DEPTH_FROM_VIDEO, STEREO

DEPTH_SYSTEMS: dict[str, Entry] = {
    "stereo_tiny": Entry(stereo_tiny, STEREO, "6.1.1", DEEP3D, "", SMALL_DEPTH, recipe=STEREO_TINY),
    "stereo_vgg": Entry(stereo_vgg, STEREO, "6.1.1", DEEP3D, "", SMALL_DEPTH),
    "depth_tiny": Entry(depth_tiny, DEPTH, "6.1", EIGEN, "", SMALL_DEPTH, recipe=DEPTH_TINY),
    "depth_resnet18": Entry(depth_resnet18, DEPTH, "6.1", EIGEN, "", SMALL_DEPTH),
    "monodepth_tiny": Entry(
        monodepth_tiny, DEPTH_FROM_STEREO, "6.1.1", MONODEPTH, "", SMALL_DEPTH, recipe=MONODEPTH_TINY
    ),
    "monodepth_resnet18": Entry(
        monodepth_resnet18, DEPTH_FROM_STEREO, "6.1.1", MONODEPTH, "", SMALL_DEPTH, recipe=MONODEPTH_RECIPE
    ),
    "monodepth_vgg": Entry(
        monodepth_vgg, DEPTH_FROM_STEREO, "6.1.1", MONODEPTH, "", SMALL_DEPTH, recipe=MONODEPTH_RECIPE
    ),
    "monodepth_resnet50": Entry(
        monodepth_resnet50, DEPTH_FROM_STEREO, "6.1.1", MONODEPTH, "", SMALL_DEPTH, recipe=MONODEPTH_RECIPE
    ),
    "sfm_learner_tiny": Entry(
        sfm_learner_tiny, DEPTH_FROM_VIDEO, "6.1.2", SFM_LEARNER, "", SMALL_DEPTH, recipe=SFM_TINY
    ),
    "sfm_learner": Entry(sfm_learner, DEPTH_FROM_VIDEO, "6.1.2", SFM_LEARNER, "", SMALL_DEPTH, recipe=SFM_RECIPE),
    "depth_pro_tiny": Entry(
        depth_pro_tiny, DEPTH, "6.1.3", DEPTH_PRO, "transformers", SMALL_DEPTH_PRO, recipe=DEPTH_PRO_TINY
    ),
    "depth_pro": Entry(depth_pro, DEPTH, "6.1.3", DEPTH_PRO, "transformers", SMALL_DEPTH_PRO, recipe=DEPTH_PRO_RECIPE),
}
