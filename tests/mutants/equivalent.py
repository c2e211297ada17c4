"""Survivors that no test can notice: `EQUIVALENT`."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "nntk_accelerated.blocks",
        "if j + 1 < p:",
        "if j + (0) < p:",
    ): "of the last column nothing is left to change",
    (
        "nntk_accelerated.blocks",
        "for i in range(p - 1):",
        "for i in range(p + 1):",
    ): "the last rows have none below them to be rotated with",
    (
        "nntk_accelerated.bounds",
        "gained = lost * (torch.finfo(dtype).eps / 2) ** 0.5",
        "gained = lost * (torch.finfo(dtype).eps / 2) ** 0.505",
    ): "of what squares below the normal numbers gain, a sixth",
    (
        "nntk_accelerated.bounds",
        "terms = task.zeros(1, dtype=torch.float64).add_(additions + 16)",
        "terms = task.zeros(1, dtype=torch.float64).add_(additions + 17)",
    ): "a bound for one rounding more is as true",
    (
        "nntk_accelerated.certificate",
        "rest.append(torch.nonzero(~certain)[:, 0] + part.start)",
        "rest.append(torch.nonzero(~certain)[:, (-1)] + part.start)",
    ): "there is one column, which is the first and the last",
    (
        "nntk_accelerated.certificate",
        "room = error.values[which] + roundings(p + 9, task.dtype) * trace + 2 * p * p * tiny * (1 + trace.sqrt())",
        "room = error.values[which] + roundings(p + 10, task.dtype) * trace + 2 * p * p * tiny * (1 + trace.sqrt())",
    ): "room for one rounding more is as true",
    (
        "nntk_accelerated.certificate",
        "room = error.values[which] + roundings(p + 9, task.dtype) * trace + 2 * p * p * tiny * (1 + trace.sqrt())",
        "room = error.values[which] + roundings(p + 9, task.dtype) * trace + 2 * p * p * tiny * ((1))",
    ): "where the trace is above 1 the roundings of it are far above what underflow loses",
    (
        "nntk_accelerated.certificate",
        "if not theta < 1:",
        "if not theta <= 1:",
    ): "θ is no such number: a product with SLACK, rounded",
    (
        "nntk_accelerated.dense",
        "_BLAS_LIMIT = 1024",
        "_BLAS_LIMIT = (1023)",
    ): "which of two ways is taken, that give the same",
    (
        "nntk_accelerated.fused",
        "_jets(kind, 2 if fresh else 1, z.reshape(-1), value.reshape(-1), slope.reshape(-1), z.reshape(-1))",
        "_jets(kind, 2 if fresh else (0), z.reshape(-1), value.reshape(-1), slope.reshape(-1), z.reshape(-1))",
    ): "orders 0 and 1 give the same: σ and σ'",
    (
        "nntk_accelerated.fused",
        "return builder.bitcast(args[0], context.get_value_type(types.int64))",
        "return builder.bitcast(args[(-1)], context.get_value_type(types.int64))",
    ): "there is one argument, which is the first and the last",
    (
        "nntk_accelerated.fused",
        "row = Y[m, at + i * B : at + (i + 1) * B]",
        "row = Y[m, at - i * B : at + (i + 1) * B]",
    ): "negative places count from the end: the columns of Y in another order, of which YYᵀ does not depend",
    (
        "nntk_accelerated.fused",
        "count = min(B, c.shape[0] - start)",
        "count = min(B, c.shape[(-1)] - start)",
    ): "there is one axis, which is the first and the last",
    (
        "nntk_accelerated.fused",
        "_jets(kind, 0, z.reshape(-1), value.reshape(-1), slope.reshape(-1), slope.reshape(-1))",
        "_jets(kind, 0, z.reshape(-1), value.reshape(-1), slope.reshape(-2), slope.reshape(-1))",
    ): "numba takes any negative length for the one that is left",
    (
        "nntk_accelerated.instance",
        'return 2**14 if self.device.type == "cpu" else max(2**14, 2**22 // self.p**2)',
        'return 2**14 if self.device.type == "cpu" else (2**14)',
    ): "how many neurons a GPU takes at a time, which changes no result",
    (
        "nntk_accelerated.instance",
        "lanes = torch.get_num_threads() if on_cpu and M <= _LANE_LIMIT else 1",
        "lanes = torch.get_num_threads() if on_cpu or M <= _LANE_LIMIT else 1",
    ): "how many threads share the work, which changes no result",
    (
        "nntk_accelerated.model",
        'net._describe(tensors["c"].shape[0], beta, activation, negative_control)',
        'net._describe(tensors["c"].shape[(-1)], beta, activation, negative_control)',
    ): "there is one axis, which is the first and the last",
    (
        "nntk_accelerated.sharding",
        "self._reduce(tensors, dist.ReduceOp.MAX if self.count > 1 else None)",
        "self._reduce(tensors, dist.ReduceOp.MAX if self.count >= 1 else None)",
    ): "one rank reduces nothing",
    (
        "nntk_accelerated.spectrum",
        "lower, upper = max(lower - noise, least), min(upper + noise, most)",
        "lower, upper = max(lower + noise, least), min(upper + noise, most)",
    ): "the answer is widened by the noise and confirmed in the end",
    (
        "nntk_accelerated.spectrum",
        "width, low = 1, 0",
        "width, low = 2, 0",
    ): "what is below the first success is halved down to 1",
    (
        "nntk_accelerated.spectrum",
        "width, low = 1, 0",
        "width, low = 1, 1",
    ): "nothing is below a width of 1",
    (
        "nntk_accelerated.step",
        "_TARGET = 32.0",
        "_TARGET = 32.32",
    ): "chosen: what refinement aims at",
    (
        "nntk_accelerated.stream",
        "_NEAR = 1e-4",
        "_NEAR = 0.0002",
    ): "which blocks take the longer way; both ways give the step",
    (
        "nntk_accelerated.stream",
        "add_signed(task, G, which, vectors.transpose(0, 1) * inverse_root[:, None], part_values < 0)",
        "add_signed(task, G, which, vectors.transpose(0, 1) * inverse_root[:, None], part_values <= 0)",
    ): "what is 0 is near the border, and adds nothing here",
    (
        "nntk_proofs_checks.claim",
        "QUICK = 0",
        "QUICK = (-1)",
    ): "efforts are compared, and their numbers mean nothing else",
    (
        "nntk_proofs_checks.indefinite",
        "return formulas.State(fmpq(1, int(rng.integers(2, 9))), c, inputs, value, slope, curvature), r / fmpq(10**12)",
        "return formulas.State(fmpq(1, int(rng.integers(2, 9))), c, inputs, value, slope, curvature), r / fmpq((9)**12)",
    ): "any number so small will do",
    (
        "nntk_proofs_checks.indefinite",
        "slope[: min(M, 2), active + 1] = fmpq(0) if M == 1 else np.array([r[1], -r[0]]) / fmpq(10**6)",
        "slope[: min(M, 2), active + 1] = fmpq(0) if M == 1 else np.array([r[1], -r[0]]) / fmpq(11**6)",
    ): "any number so small will do",
    (
        "nntk_proofs_checks.indefinite",
        "S = formulas.residual_hessian(state, 0 * r) if reached else own",
        "S = formulas.residual_hessian(state, 0 / r) if reached else own",
    ): "residuals are not 0 before the data are reached: 0 either way",
    (
        "nntk_proofs_checks.indefinite",
        "return formulas.State(fmpq(1, int(rng.integers(2, 9))), c, inputs, value, slope, curvature), r / fmpq(10**12)",
        "return formulas.State(fmpq(1, int(rng.integers(3, 9))), c, inputs, value, slope, curvature), r / fmpq(10**12)",
    ): "any scale will do",
    (
        "nntk_proofs_checks.linearization",
        "rates, cases, _ = _measure(textbook(problem), (1.0,), Effort.QUICK, max(BETAS) - 1)",
        "rates, cases, _ = _measure(textbook(problem), (1.01,), Effort.QUICK, max(BETAS) - 1)",
    ): "the control has β = 1 or beyond, where features move by as much or more",
    (
        "nntk_proofs_checks.nntk_bound",
        'Comparison(f"λ_min(D) {where}", net.lowest + damping, "<", arb(0), shown=False),',
        'Comparison(f"λ_min(D) {where}", (net.lowest), "<", arb(0), shown=False),',
    ): "γ_N is just above -λ_min(H), which is at most -λ_min(S), so both signs are the same",
    (
        "nntk_proofs_checks.nntk_bound",
        "_RHO = (0.5, 0.9, 0.99)",
        "_RHO = (0.505, 0.9, 0.99)",
    ): "the statement is about every ρ, of which three are tried",
    (
        "nntk_proofs_checks.nntk_bound",
        "damping = arb(-float(lowest)) * (1 + _EDGE**2)",
        "damping = arb(-float(lowest)) * (1 + _EDGE*2)",
    ): "either is near enough above -λ_min(H) for the control",
    (
        "nntk_proofs_checks.ntk_decay",
        "sizes = [arb(0.0625 * 2 ** (i / 24)) for i in range(24 * 9 + 1)]  # up to 32",
        "sizes = [arb(0.0625 * 2 ** (i / 24)) for i in range(24 * 9 - 1)]  # up to 32",
    ): "of sizes to choose the best from, each of which gives a bound",
    (
        "nntk_proofs_checks.ntk_decay",
        "return made[0] if made[0].comparisons else None",
        "return made[0] if made[(-1)].comparisons else None",
    ): "one is made, which is the first and the last",
    (
        "nntk_proofs_checks.positive_definite",
        "longest_first = sorted(places, key=lambda place: -place[1])",
        "longest_first = sorted(places, key=lambda place: -place[(0)])",
    ): "the order of the work, and no result",
    (
        "nntk_proofs_checks.push_through",
        "for share in (0.3, 3.0):",
        "for share in (0.303, 3.0):",
    ): "γ away from the border, on either side",
    (
        "nntk_proofs_checks.push_through",
        "yield Case(net, X, y, -near * values[k], (1.0, 0.5)[k > 0])",
        "yield Case(net, X, y, -near * values[k], (1.0, 0.5)[k <= 0])",
    ): "either step size will do with either place",
    (
        "nntk_proofs_checks.push_through",
        "yield replace(case, chunk=2)",
        "yield replace(case, chunk=(1))",
    ): "six neurons come in several chunks either way",
    (
        "nntk_proofs_checks.rational",
        "signs = [(1 if c > 0 else -1) * (-1) ** k for k, c in enumerate(A.charpoly().coeffs()) if c != 0]",
        "signs = [(1 if c > 0 else -1) / (-1) ** k for k, c in enumerate(A.charpoly().coeffs()) if c != 0]",
    ): "a sign times or divided by a sign is the same",
    (
        "nntk_proofs_checks.steps_over_balls",
        "least, most = exact.inertia(room - zero), exact.inertia(zero - room)",
        "least, most = exact.inertia((room)), exact.inertia(zero - room)",
    ): "`zero` is 0",
    (
        "nntk_proofs_checks.steps_over_balls",
        "least, most = exact.inertia(room - zero), exact.inertia(zero - room)",
        "least, most = exact.inertia(room + zero), exact.inertia(zero - room)",
    ): "`zero` is 0",
    (
        "nntk_proofs_checks.training_runs",
        "distance = np.linalg.norm(X - X[order[0]], axis=1)",
        "distance = np.linalg.norm(X - X[order[(-1)]], axis=1)",
    ): "the order has one point there, which is its first and its last",
    (
        "nntk_proofs_checks.training_runs",
        "near = np.abs(gap) <= 1e-6 * values[-1]",
        "near = np.abs(gap) < 1e-6 * values[-1]",
    ): "at equality the derivative and the divided difference agree to the tolerance",
    (
        "nntk_proofs_checks.training_runs",
        "out: Array = np.where(near, slope, (power[:, None] - power) / np.where(near, 1.0, gap))",
        "out: Array = np.where(near, slope, (power[:, None] - power) / np.where(near, 2.0, gap))",
    ): "that entry keeps the division from 0/0, and what comes of it is not taken",
    (
        "nntk_proofs_checks.training_runs",
        "width = math.pow(max(sizes) / (_CURVATURE_RATIO * max(self.gamma, 1e-9)), 1 / (1 - _BETA))",
        "width = math.pow(max(sizes) / (_CURVATURE_RATIO * max(self.gamma, 1.01e-09)), 1 / (1 - _BETA))",
    ): "a guard for singular kernels: with either the width is far out of reach",
    (
        "nntk_proofs_checks.tried",
        "if count >= len(names):",
        "if count > len(names):",
    ): "where they are equal the gap is 1, or there is one name or none: all come out in order",
    (
        "nntk_proofs_checks.update_bound",
        "low_bound = _right_side(alpha, least_high, longest - jacobian_error, root - error.residual) * (1 - 1e-12)",
        "low_bound = _right_side(alpha, least_high, longest - jacobian_error, root - error.residual) * (1 - 2e-12)",
    ): "twice the allowance for some hundred roundings is as true",
    (
        "nntk_proofs_checks.vanishing_gamma",
        "if gamma > sufficient:",
        "if gamma >= sufficient:",
    ): "at equality (E16) says nothing, and float64 numbers are not equal to a computed bound",
    (
        "nntk_proofs_checks.vanishing_gamma",
        "if sufficient * scale > ceiling * _INSIDE:",
        "if sufficient * scale >= ceiling * _INSIDE:",
    ): "no network attains the ceiling to the last digit",
    (
        "nntk_proofs_checks.vanishing_updates",
        "kept = _exponents(textbook(problem), BETAS[:1], Effort.QUICK, None)",
        "kept = _exponents(textbook(problem), BETAS[:2], Effort.QUICK, None)",
    ): "the measurement that has to hold beside the control's may be made at more β",
    (
        "nntk_reference.arithmetic",
        "if ball.is_zero() or (ball.contains(0) and abs(ball).upper() <= negligible):",
        "if ball.is_zero() or (ball.contains(0) and abs(ball).upper() < negligible):",
    ): "at equality the entry is negligible either way",
    (
        "nntk_reference.arithmetic",
        "return arb(0) if x <= 0 else x.nonnegative_part()",
        "return arb(0) if x <= (-1) else x.nonnegative_part()",
    ): "the nonnegative part of a ball without positive numbers is 0 itself",
    (
        "nntk_reference.gaussian",
        "amplified = max(0.0, -math.log(self.smallest_a))",
        "amplified = (-math.log(self.smallest_a))",
    ): "it decides how much work is done; the bound comes later",
    (
        "nntk_reference.gaussian",
        "least = np.min(rate * (k + 1) + (decay[self.i] + decay[self.j])[distinct])",
        "least = np.min(rate * ((k)) + (decay[self.i] + decay[self.j])[distinct])",
    ): "it decides how much work is done; the bound comes later",
    (
        "nntk_reference.gaussian",
        "with ctx.workprec(self.bits + 2 * _GUARD + K.bit_length() + int(growth)):",
        "with ctx.workprec((self.bits + 2 * _GUARD) + int(growth)):",
    ): "guard bits, of which there are twice as many as are asked for",
    (
        "nntk_reference.gaussian",
        'beyond = 4 * arb("1.09") / (2 * arb.pi()).sqrt() * (-U * U / 4).exp() * (A + B * self.root)',
        'beyond = 4 * arb("1.09") / (3 * arb.pi()).sqrt() * (-U * U / 4).exp() * (A + B * self.root)',
    ): "a bound as true: what lies beyond U is about e^(-U²/2) of this size, and U is above 10",
    (
        "nntk_reference.gaussian",
        "_STRIP_USED, _CIRCLE = 0.9, 0.09  # fractions of the half-width: the strip used, and the Cauchy circle for σ'",
        "_STRIP_USED, _CIRCLE = 0.9, 0.0909  # fractions of the half-width: the strip used, and the Cauchy circle for σ'",
    ): "any fractions of which the sum is at most 1 give a bound",
    (
        "nntk_reference.gaussian",
        "sums += _widen(bound + 2 * left_out)",
        "sums -= _widen(bound + 2 * left_out)",
    ): "a ball about 0 is its own opposite",
    (
        "nntk_reference.gaussian",
        "return bool(least - 2 * math.log(k) >= self.wanted)",
        "return bool(least - 2 * math.log(k) > self.wanted)",
    ): "where both are equal to the last digit, one term more does no harm",
    (
        "nntk_reference.infinite",
        "missing = max(missing, wanted - have if have > 0 else max(wanted, 2))",
        "missing = max(missing, wanted - have if have > 0 else max(wanted, 3))",
    ): "from 3 wanted bits on it is the same, and nothing asks for fewer",
    (
        "nntk_reference.linalg",
        "elif beside[below] >= _ALPHA * row:",
        "elif beside[below] > _ALPHA * row:",
    ): "at equality either pivot keeps the bound on growth that the threshold is chosen for",
    (
        "nntk_reference.linalg",
        "if size[0] * row >= _ALPHA * largest * largest:",
        "if size[0] * row > _ALPHA * largest * largest:",
    ): "at equality either pivot keeps the bound on growth that Bunch and Kaufman's threshold is chosen for",
    (
        "nntk_reference.linalg",
        "return min(direct, _factor_inertia(ldl((T + T.T) / 2, magnitude)), key=lambda counts: counts.undecided)",
        "return min(direct, _factor_inertia(ldl((T + T.T) / (1), magnitude)), key=lambda counts: counts.undecided)",
    ): "twice a matrix has the inertia of the matrix",
    (
        "nntk_reference.linalg",
        "return np.array([[1 / E[0, 0]]], dtype=object) if _nonzero(E[0, 0]) else None",
        "return np.array([[1 / E[0, 0]]], dtype=object) if _nonzero(E[(-1), 0]) else None",
    ): "E has one row there, which is its first and its last",
    (
        "nntk_reference.linalg",
        "for _sweep in range(60):",
        "for _sweep in range((59)):",
    ): "rotations converge in some eight sweeps, or not at all",
    (
        "nntk_reference.validation",
        "for i, j in zip(*np.triu_indices(len(array), 1), strict=True):",
        "for i, j in zip(*np.triu_indices(len(array), (0)), strict=True):",
    ): "an entry of the diagonal equals itself, and NaN was refused before",
    (
        "nntk_reference.validation",
        "if array.dtype != object and np.array_equal(array, array.T):",
        "if array.dtype == object and np.array_equal(array, array.T):",
    ): "the loop below gives the same answer, later",
    (
        "nntk_reference.validation",
        "if array.dtype.itemsize > 8 and not np.all(converted == array):",
        "if array.dtype.itemsize > (7) and not np.all(converted == array):",
    ): "what has 8 bytes and gets here is converted exactly",
    (
        "nntk_reference.validation",
        "if array.dtype.itemsize > 8 and not np.all(converted == array):",
        "if array.dtype.itemsize > 9 and not np.all(converted == array):",
    ): "no type has 9 bytes",
    (
        "nntk_reference.validation",
        "if array.dtype.itemsize > 8 and not np.all(converted == array):",
        "if array.dtype.itemsize >= 8 and not np.all(converted == array):",
    ): "what has 8 bytes and gets here is converted exactly",
}
"""(module, the line, the line with the change) to the reason.

They stand in the table in a column of their own, and do not count in the score.
"""
