"""a label is in another lot once its own was withdrawn"""

from alembic import op

revision = "0015"
down_revision = "0014"

_NAMES = {"uq": "uq_%(table_name)s_%(column_0_name)s"}  # of constraints that were made without one


def upgrade() -> None:
    with op.batch_alter_table("lot_items", naming_convention=_NAMES) as batch_op:
        batch_op.drop_constraint("uq_lot_items_label_id", type_="unique")
        batch_op.create_index(batch_op.f("ix_lot_items_label_id"), ["label_id"], unique=False)


def downgrade() -> None:
    op.execute(  # what such a lot held is in a later one
        "DELETE FROM lot_items WHERE lot_id IN (SELECT lot_id FROM lot_decisions WHERE outcome = 'withdrawn')"
    )
    with op.batch_alter_table("lot_items", naming_convention=_NAMES) as batch_op:
        batch_op.drop_index(batch_op.f("ix_lot_items_label_id"))
        batch_op.create_unique_constraint("uq_lot_items_label_id", ["label_id"])
