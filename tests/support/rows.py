"""A saved crop and a cloudy job as rows, for tests of tables."""

from __future__ import annotations

from datetime import UTC, datetime

from s2async.models import CloudMeasure
from s2async.state.records import JobRow, SavedRow

CLASSES = frozenset({1, 3, 8, 9, 10})
ROW = SavedRow(
    area="Tiergarten",
    fingerprint="0123456789abcdef",
    folder="tiergarten",
    home="tiergarten",
    item="S2A_33UUU_20220719_0_L2A",
    collection="sentinel-2-l2a",
    datetime=datetime(2022, 7, 19, 10, 18, 5, 123000, tzinfo=UTC),
    platform="sentinel-2a",
    grid="33UUU",
    baseline="04.00",
    scene_cloud=0.000015,
    measure=CloudMeasure(histogram=(10, 0, 0, 1, 200, 97, 0, 0, 2, 0, 0, 0, 0), total=320),
    asset="visual",
    href="https://cogs.example/S2A_33UUU_20220719_0_L2A/TCI.tif",
    file="S2A_33UUU_20220719_0_L2A_visual.tif",
    bytes=123456,
    sha256="ab" * 32,
    epsg=32633,
    offset=0,
    offset_basis="rule",
)
CLOUDY = JobRow(
    **{key: getattr(ROW, key) for key in JobRow.__dataclass_fields__ if key not in ("status", "reason")},
    status="cloudy",
)
