from optlstm.api import fit as fit
from optlstm.api import load as load
from optlstm.api import tune as tune
from optlstm.estimators import Forecaster as Forecaster
from optlstm.estimators import SequenceClassifier as SequenceClassifier
from optlstm.estimators import SequenceRegressor as SequenceRegressor
from optlstm.notebook import Model as Model
from optlstm.notebook import Result as Result
from optlstm.run.custom_trial import track as track
from optlstm.run.replay import debug_trial as debug_trial

__version__: str
