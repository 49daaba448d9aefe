"""lots"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "lots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("auditor_id", sa.Integer(), nullable=False),
        sa.Column("resubmits_id", sa.Integer(), nullable=True),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["auditor_id"],
            ["vendors.id"],
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
        ),
        sa.ForeignKeyConstraint(
            ["resubmits_id"],
            ["lots.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("lots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lots_campaign_id"), ["campaign_id"], unique=False)

    op.create_table(
        "lot_campaigns",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("lot_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"],
            ["lots.id"],
        ),
        sa.PrimaryKeyConstraint("campaign_id"),
    )
    with op.batch_alter_table("lot_campaigns", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lot_campaigns_lot_id"), ["lot_id"], unique=False)

    op.create_table(
        "lot_decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lot_id", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("audited", sa.Integer(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["lot_id"],
            ["lots.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("lot_decisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lot_decisions_lot_id"), ["lot_id"], unique=False)

    op.create_table(
        "lot_items",
        sa.Column("lot_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["label_id"],
            ["labels.id"],
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"],
            ["lots.id"],
        ),
        sa.ForeignKeyConstraint(
            ["task_id"],
            ["tasks.id"],
        ),
        sa.PrimaryKeyConstraint("lot_id", "place"),
        sa.UniqueConstraint("label_id"),
    )
    with op.batch_alter_table("lot_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lot_items_task_id"), ["task_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("lot_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lot_items_task_id"))

    op.drop_table("lot_items")
    with op.batch_alter_table("lot_decisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lot_decisions_lot_id"))

    op.drop_table("lot_decisions")
    with op.batch_alter_table("lot_campaigns", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lot_campaigns_lot_id"))

    op.drop_table("lot_campaigns")
    with op.batch_alter_table("lots", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lots_campaign_id"))

    op.drop_table("lots")
