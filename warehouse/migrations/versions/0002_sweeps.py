"""When all rows of a resource were last looked for at its source, and what came of it."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE "sync_sweep" (
            account_id VARCHAR NOT NULL,
            resource VARCHAR NOT NULL,
            swept_at TIMESTAMPTZ NOT NULL,
            viewer VARCHAR,
            met VARCHAR,
            n_missing BIGINT NOT NULL,
            PRIMARY KEY (account_id, resource)
        )
    """)


def downgrade() -> None:
    op.execute('DROP TABLE "sync_sweep"')
