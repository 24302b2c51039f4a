"""Models made elsewhere to step models, one folder an origin; what they share: columns, and scaling outside a model.

Step models too are made to others here (`compact`).
"""

from typing import TYPE_CHECKING

from streamlstm.common import imported_later

if TYPE_CHECKING:
    from streamlstm.models.importers.columns import feature_names, output_columns
    from streamlstm.models.importers.compacting import Compacted, compact, compacted
    from streamlstm.models.importers.outer_scaling import OuterScaling

# The process of its own that takes a file apart has little memory, and imports this folder too.
__getattr__ = imported_later(
    __name__,
    {
        "feature_names": "columns",
        "output_columns": "columns",
        "Compacted": "compacting",
        "compact": "compacting",
        "compacted": "compacting",
        "OuterScaling": "outer_scaling",
    },
)
