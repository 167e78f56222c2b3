"""Which resources are left out, and when deals were last compared with each log of their changes."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute('ALTER TABLE "sync_watermark" ADD COLUMN has_others BOOLEAN')
    op.execute('ALTER TABLE "sync_watermark" ADD COLUMN is_left_out BOOLEAN')
    op.execute("""
        CREATE TABLE "deal_look" (
            account_id VARCHAR NOT NULL,
            table_name VARCHAR NOT NULL,
            looked_at TIMESTAMPTZ NOT NULL,
            load_seq BIGINT NOT NULL,
            PRIMARY KEY (account_id, table_name)
        )
    """)


def downgrade() -> None:
    op.execute('DROP TABLE "deal_look"')
    op.execute('ALTER TABLE "sync_watermark" DROP COLUMN is_left_out')
    op.execute('ALTER TABLE "sync_watermark" DROP COLUMN has_others')
