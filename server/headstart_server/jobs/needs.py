"""Who needs an archive of examples, as the table of uses and what has become of the holders tell."""

from sqlalchemy import ColumnElement, and_, or_, select

from headstart_server.database.tables import archive_uses, jobs, versions
from headstart_server.jobs.rows import under_way


def is_living() -> ColumnElement[bool]:
    """The condition that who needs an archive has not ended, or has a version that is to have examples."""
    running = select(jobs.c.job_id).where(under_way())
    held = or_(archive_uses.c.holder.in_(running), archive_uses.c.holder.in_(select(versions.c.job_id)))
    return and_(held, archive_uses.c.let_go == 0)
