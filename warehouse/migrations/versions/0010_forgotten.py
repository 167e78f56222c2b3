"""Keyed hashes of people who were forgotten, so that no later reading brings them back."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE "forgotten" (
            kind VARCHAR NOT NULL,
            hash VARCHAR NOT NULL,
            person VARCHAR NOT NULL,
            forgotten_at TIMESTAMPTZ NOT NULL,
            n_stopped BIGINT NOT NULL,
            PRIMARY KEY (kind, hash)
        )
    """)


def downgrade() -> None:
    op.execute('DROP TABLE "forgotten"')
