"""Which settings what is on hand of an account was read with."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('ALTER TABLE "sync_account" ADD COLUMN shape VARCHAR')


def downgrade() -> None:
    op.execute('ALTER TABLE "sync_account" DROP COLUMN shape')
