"""What type a custom field was of before its source changed it, and since when it is another."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('ALTER TABLE "field_def" ADD COLUMN was_type VARCHAR')
    op.execute('ALTER TABLE "field_def" ADD COLUMN retyped_at TIMESTAMPTZ')


def downgrade() -> None:
    op.execute('ALTER TABLE "field_def" DROP COLUMN was_type')
    op.execute('ALTER TABLE "field_def" DROP COLUMN retyped_at')
