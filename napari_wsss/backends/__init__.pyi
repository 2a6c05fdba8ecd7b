from .agreement import check_tiles as check_tiles
from .maps import presence_of as presence_of, probabilities_of as probabilities_of
from .select import BackendName as BackendName, Precision as Precision, choose_backend as choose_backend
