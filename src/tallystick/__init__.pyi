from tallystick.client.clients import AsyncClient as AsyncClient
from tallystick.client.clients import Client as Client
from tallystick.client.default import acompletion as acompletion
from tallystick.client.default import aembedding as aembedding
from tallystick.client.default import amessages as amessages
from tallystick.client.default import aresponses as aresponses
from tallystick.client.default import atext_completion as atext_completion
from tallystick.client.default import close as close
from tallystick.client.default import completion as completion
from tallystick.client.default import default_client as default_client
from tallystick.client.default import embedding as embedding
from tallystick.client.default import flush as flush
from tallystick.client.default import messages as messages
from tallystick.client.default import responses as responses
from tallystick.client.default import text_completion as text_completion
from tallystick.client.instrument import instrument as instrument
from tallystick.client.record import Answer as Answer
from tallystick.client.record import Record as Record
from tallystick.client.record import Recorded as Recorded
from tallystick.client.streams import AsyncStream as AsyncStream
from tallystick.client.streams import Stream as Stream
from tallystick.errors import BudgetExceeded as BudgetExceeded
from tallystick.errors import RateLimited as RateLimited
from tallystick.errors import RequestError as RequestError
from tallystick.errors import TallystickError as TallystickError
from tallystick.errors import UpstreamError as UpstreamError

__version__: str
