"""Which invoices belong to a deal, where it is the deal that names them."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE "deal_invoice" (
            account_id VARCHAR NOT NULL,
            deal_id VARCHAR NOT NULL,
            invoice_id VARCHAR NOT NULL,
            source_updated_at TIMESTAMPTZ,
            synced_at TIMESTAMPTZ NOT NULL,
            raw_hash VARCHAR NOT NULL,
            read_seq BIGINT NOT NULL,
            load_seq BIGINT NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute('DROP TABLE "deal_invoice"')
