"""Generated corpora in the layouts of real ones: a module each, all of them in `LAYOUTS`."""

from __future__ import annotations

from unglossed_synth.layouts.bobsl import BOBSL
from unglossed_synth.layouts.broadcast import BROADCAST
from unglossed_synth.layouts.csl_daily import CSL_DAILY
from unglossed_synth.layouts.csl_news import CSL_NEWS
from unglossed_synth.layouts.dgs import DGS
from unglossed_synth.layouts.folder import FOLDER
from unglossed_synth.layouts.how2sign import HOW2SIGN
from unglossed_synth.layouts.hub import HUB
from unglossed_synth.layouts.layout import Layout as Layout
from unglossed_synth.layouts.must_c import MUST_C
from unglossed_synth.layouts.openasl import OPENASL
from unglossed_synth.layouts.phoenix14t import PHOENIX14T
from unglossed_synth.layouts.wmt_slt import WMT_SLT
from unglossed_synth.layouts.youtube_sl_25 import YOUTUBE_SL_25

LAYOUTS: dict[str, Layout] = {
    "phoenix14t": PHOENIX14T,
    "csl_daily": CSL_DAILY,
    "how2sign": HOW2SIGN,
    "openasl": OPENASL,
    "folder": FOLDER,
    "must_c": MUST_C,
    "broadcast": BROADCAST,
    "youtube_sl_25": YOUTUBE_SL_25,
    "csl_news": CSL_NEWS,
    "bobsl": BOBSL,
    "wmt_slt": WMT_SLT,
    "dgs": DGS,
    "hub": HUB,
}
"""By the name that a corpus spec gives the kind, unless a layout says otherwise."""
