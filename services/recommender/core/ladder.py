"""Which step of the degradation ladder an answer stands on."""

from shared.contracts.events.decisions import Rung


def rung_of(release: Rung | None, *, modelled: bool, popular: bool) -> Rung:
    """Return the release's own rung if a model spoke, else what else there was to go by.

    Parameters
    ----------
    release : Rung or None
        Where the loaded release stands; None when there is none.
    modelled : bool
        Whether a model of the release had something to say for this request.
    popular : bool
        Whether anything is known of what people want.
    """
    if release is not None and modelled:
        return release
    return "popular" if popular else "static"
