"""adaptive campaigns, annotators who are gone"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.add_column(sa.Column("adaptive", sa.JSON(none_as_null=True), nullable=True))
    with op.batch_alter_table("annotators", schema=None) as batch_op:
        batch_op.add_column(sa.Column("gone", sa.Boolean(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("annotators", schema=None) as batch_op:
        batch_op.drop_column("gone")
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.drop_column("adaptive")
