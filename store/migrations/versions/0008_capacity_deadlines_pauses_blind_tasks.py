"""capacity, deadlines, pauses, blind tasks"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("vendors", schema=None) as batch_op:
        batch_op.add_column(sa.Column("capacity", sa.Integer(), nullable=True))
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pushing", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("deadline", sa.Date(), nullable=True))
        batch_op.add_column(sa.Column("paused", sa.Boolean(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("cancelled_at", sa.DateTime(), nullable=True))
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("blind", sa.Boolean(), nullable=True))
    # by hand: Alembic would copy the table, which annotations refer to
    op.execute("ALTER TABLE tasks ADD COLUMN prediction_run_id INTEGER REFERENCES prediction_runs (id)")


def downgrade() -> None:
    with op.batch_alter_table("tasks", schema=None) as batch_op:
        batch_op.drop_column("prediction_run_id")
        batch_op.drop_column("blind")
    with op.batch_alter_table("campaigns", schema=None) as batch_op:
        batch_op.drop_column("cancelled_at")
        batch_op.drop_column("paused")
        batch_op.drop_column("deadline")
        batch_op.drop_column("pushing")
    with op.batch_alter_table("vendors", schema=None) as batch_op:
        batch_op.drop_column("capacity")
