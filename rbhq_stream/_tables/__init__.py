"""Events as flat Arrow tables, in memory or as Parquet files. The only package that needs pyarrow, when it is used."""

from rbhq_stream._tables.conversion import ArrowTables as ArrowTables
from rbhq_stream._tables.conversion import to_arrow as to_arrow
from rbhq_stream._tables.parquet import export as export
