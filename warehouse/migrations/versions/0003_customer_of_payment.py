"""Whose purchase a payment is, where the source names a customer of its own kind instead of a card."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('ALTER TABLE "payment" ADD COLUMN customer_id VARCHAR')


def downgrade() -> None:
    op.execute('ALTER TABLE "payment" DROP COLUMN customer_id')
