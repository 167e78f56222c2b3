"""Alembic's entry: runs on the connection `warehouse.database.migrate` hands over, in its transaction."""

from alembic import context

from warehouse.models import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
