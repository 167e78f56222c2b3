"""Up to which number each list was read, for sources whose rows come back or are imported with old dates."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE "sync_number" (
            account_id VARCHAR NOT NULL,
            resource VARCHAR NOT NULL,
            part VARCHAR NOT NULL,
            number BIGINT NOT NULL,
            PRIMARY KEY (account_id, resource, part)
        )
    """)


def downgrade() -> None:
    op.execute('DROP TABLE "sync_number"')
