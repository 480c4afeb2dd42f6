%% Messages between processes of the BEAM: the same lines, on descriptors 3 and 4, as
%% atoms/mail.c takes them as a file. An ask is a gen_server:call, which tells the one
%% who asks when nobody can answer any more, as an atom's does.
-module(mail).
-behaviour(gen_server).
-export([main/0, init/1, handle_call/3, handle_cast/2]).

main() ->
    Port = open_port({fd, 3, 4}, [{line, 100}, binary]),
    {ok, Asked} = gen_server:start_link(?MODULE, [], []),
    loop(Port, Asked, spawn_link(fun() -> adds_up(0) end), none).

loop(Port, Asked, Adds, Ring) ->
    receive
        {Port, {data, {eol, Line}}} ->
            [What, Text] = binary:split(Line, <<" ">>),
            N = binary_to_integer(Text),
            {Result, New} = case What of
                <<"one">> -> {one(Adds, N), Ring};
                <<"ask">> -> {ask(Asked, 0, N), Ring};
                <<"make">> -> {N, make(N)};
                <<"ring">> -> {ring(Ring, N), Ring};
                <<"spawn">> -> {spawns(N, 0), Ring}
            end,
            port_command(Port, io_lib:format("~16.16.0b~n", [Result])),
            loop(Port, Asked, Adds, New)
    end.

%% A batch at a time, with a message to oneself between two.
one(Adds, 0) ->
    Adds ! {self(), sum},
    receive {Adds, Sum} -> Sum end;
one(Adds, N) ->
    Rest = batch(Adds, N, 256),
    self() ! again,
    receive again -> one(Adds, Rest) end.

batch(_, 0, _) -> 0;
batch(_, N, 0) -> N;
batch(Adds, N, Of) ->
    Adds ! N,
    batch(Adds, N - 1, Of - 1).

adds_up(Sum) ->
    receive
        {From, sum} -> From ! {self(), Sum}, adds_up(0);
        N -> adds_up(Sum + N)
    end.

ask(Asked, N, Of) when N < Of -> ask(Asked, gen_server:call(Asked, N), Of);
ask(_, N, _) -> N.

init(State) -> {ok, State}.
handle_call(N, _, State) -> {reply, N + 1, State}.
handle_cast(_, State) -> {noreply, State}.

make(N) ->
    Main = self(),
    [First | _] = All = [spawn_link(fun() -> begins(Main) end) || _ <- lists:seq(1, N)],
    connect(All, First),
    First.

connect([Last], First) -> Last ! {next, First};
connect([One | [Next | _] = Rest], First) -> One ! {next, Next}, connect(Rest, First).

begins(Main) -> receive {next, Next} -> passes_on(Main, Next) end.

passes_on(Main, Next) ->
    receive
        {1, Told} -> Main ! {told, told(Told)};
        {Steps, Told} -> Next ! {Steps - 1, told(Told)}
    end,
    passes_on(Main, Next).

told(Told) -> (Told * 3 + 1) band 16#ffffffff.

ring(First, N) ->
    First ! {N, 0},
    receive {told, Told} -> Told end.

spawns(0, Born) -> Born;
spawns(N, Born) ->
    Main = self(),
    spawn(fun() -> Main ! born end),
    receive born -> spawns(N - 1, Born + 1) end.
