"""Whose rights an account was read with."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('ALTER TABLE "sync_account" ADD COLUMN viewer VARCHAR')


def downgrade() -> None:
    op.execute('ALTER TABLE "sync_account" DROP COLUMN viewer')
