"""Since when every version of an account's raw objects is on hand."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('ALTER TABLE "sync_account" ADD COLUMN raw_whole_since TIMESTAMPTZ')


def downgrade() -> None:
    op.execute('ALTER TABLE "sync_account" DROP COLUMN raw_whole_since')
