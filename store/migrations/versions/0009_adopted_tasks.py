"""adopted tasks"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "adopted_tasks",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("ls_task_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"]),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"]),
        sa.PrimaryKeyConstraint("campaign_id", "ls_task_id"),
    )
    with op.batch_alter_table("adopted_tasks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_adopted_tasks_task_id"), ["task_id"], unique=False)


def downgrade() -> None:
    op.drop_table("adopted_tasks")
