"""What deals said at the last sync, for changes that no log of the source tells of."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE "deal_seen" (
            account_id VARCHAR NOT NULL,
            deal_id VARCHAR NOT NULL,
            pipeline_id VARCHAR,
            stage_id VARCHAR,
            responsible_user_id VARCHAR,
            amount_minor BIGINT,
            stage_seen_at TIMESTAMPTZ NOT NULL,
            owner_seen_at TIMESTAMPTZ NOT NULL,
            amount_seen_at TIMESTAMPTZ NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute('DROP TABLE "deal_seen"')
